"""The command `cnx`: one file a subcommand, each a thin reader of the same dataclasses."""
