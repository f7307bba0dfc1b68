"""Variable shared meta learning: networks whose weights are small recurrent cells.

Kirsch & Schmidhuber 2021 (VSML, arXiv:2012.14905); Kirsch et al. 2022 (SymLA, arXiv:2109.10781).

Every weight of a dense layer becomes one cell with a state of its own and parameters shared by
all. For every input a and output b of a layer, at each micro tick:

    h_ab <- f(h_ab, forward_a, backward_b, context, own forward_b, own backward_a)    (6, 9)
    forward_b  = reduce over a of head(h_ab)    to the next layer                     (7)
    backward_a = reduce over b of head(h_ab)    to the layer before                   (8)

Axes, named the same everywhere: A inputs, B outputs, N hidden units of a cell, Mf and Mb sizes
of forward and backward messages, C context, K layers.
Time: micro tick < environment step < episode < lifetime < generation.
"""

from ._affine import Affine as Affine
from ._cell import (
    AbstractCell as AbstractCell,
    BackpropCell as BackpropCell,
    GRUCell as GRUCell,
    LSTMCell as LSTMCell,
    LSTMState as LSTMState,
)
from ._layer import (
    Layer as Layer,
    LayerState as LayerState,
    MessageBias as MessageBias,
    Messages as Messages,
    Reduction as Reduction,
)
from ._network import (
    Kernel as Kernel,
    Network as Network,
    NetworkState as NetworkState,
    Order as Order,
)
from ._states import Recipe as Recipe
