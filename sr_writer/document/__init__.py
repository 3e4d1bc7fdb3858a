"""The document: the film and, as text, every number of an analysis.

`content` says what it says, `words` in which words, `layout.typ` where it stands, `pdf` makes the file of it.
"""
