"""Video files as data: exact frames by number and time, and sources of clips over folders of them."""
