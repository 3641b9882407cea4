"""How a store reaches its server: from an address to a connection with one owner, which answers by a callback."""
