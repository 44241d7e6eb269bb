"""How numbers are computed: precision, memory, devices, options."""
