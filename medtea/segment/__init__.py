"""Wing: a lung mask for every radiograph, cleaned, measured and checked."""
