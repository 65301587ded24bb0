"""How long vectors are, known without importing a compiler."""

# numbers of float32 in one vector
LANES = 32
