"""How `models/pneumonia-ct` is made: ``python -m models.training.pneumonia_ct --help``.

`slices` and `hu_slices` bring every source of training slices into one form, `augment` and `sampling` make
batches of them, `network` is what is taught, `training` teaches it, `folds` says which patients are kept
apart, `evaluation` measures, `export` writes the package.
"""
