"""Small layers with plain arguments, shared by several rooms. Import the modules directly."""
