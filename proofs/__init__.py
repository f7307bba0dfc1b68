"""Laws of learned learning algorithms, as a library that others can use on their own.

Laws, Hypothesis strategies and certificates arrive with later versions; this one exports nothing
yet. The package imports without Hypothesis, which `pip install 'symla[proofs]'` brings.
"""
