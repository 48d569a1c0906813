"""Messages and stubs as protoc makes them of proto/clearhouse/v1: `make proto` makes them again, nobody edits them."""
