"""The DNS back ends: one way each of telling the machine which resolvers to use."""
