"""Images from hospitals' archives: found by a query, listed, received one file per instance into a folder of ours."""
