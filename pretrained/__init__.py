"""Small meta-trained learners that ship with the package.

Each is a `NAME.symla` file, written by `meta.save` and read by `meta.pretrained("NAME")`, with
a card `NAME.md` beside it that says how it was made and how it scores.
"""
