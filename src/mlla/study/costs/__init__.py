"""What an arm costs: parameters, operations, memory, time."""
