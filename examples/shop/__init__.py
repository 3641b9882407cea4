"""A shop that mails its sellers: a thousand sales, a real mail server, real worker processes. `make demo` runs it."""
