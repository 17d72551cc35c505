"""What a resource is: structs, parsing, checks."""
