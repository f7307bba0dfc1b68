"""How fast whole generations of meta-training are, beside a rival and beside what could be.

`symla bench` runs it. A rival is the same work as one would write it today with Equinox's LSTM cell
under nested `vmap`; the floor is what the machine's arithmetic and memory allow.
"""
