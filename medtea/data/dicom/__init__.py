"""What one DICOM file says: header, accept, stored, grey, field, spacing; `medtea.data.pixels` chains them."""
