"""Games: what the data of a coalition is worth, each a pure function of a mask."""
