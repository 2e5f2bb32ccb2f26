"""The server of `jaxstyle serve`: runs that are watched and changed in a browser."""
