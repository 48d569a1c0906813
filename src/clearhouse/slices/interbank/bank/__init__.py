"""The simulated bank: a correspondent with books of its own. It lies when told to, and its books stay true all the while."""
