"""Environments, with the interface of gymnax, and the distributions of tasks made of them."""

from ._bandits import (
    BanditKind as BanditKind,
    BanditParams as BanditParams,
    BanditState as BanditState,
    BernoulliBandit as BernoulliBandit,
    BernoulliBandits as BernoulliBandits,
)
