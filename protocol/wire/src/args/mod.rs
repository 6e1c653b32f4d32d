//! The argument list that a client sends to a server, as text both ways (§2.1, §2.2).
