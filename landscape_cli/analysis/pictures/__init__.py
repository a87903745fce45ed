"""Pictures of a surface, one function per kind."""
