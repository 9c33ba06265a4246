"""What a DICOM file says: header, accept, codestream, stored, grey, field, spacing; `medtea.data.pixels` joins them."""
