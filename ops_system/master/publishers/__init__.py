"""The publishers this master trusts: whose packages it takes."""
