"""What several rooms share: small layers with plain arguments. Import the modules directly."""
