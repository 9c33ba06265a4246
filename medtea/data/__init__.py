"""Floor 2: radiographs as files, arrays and batches: reader, index, marks, phantom, augmentation, bank, loader."""
