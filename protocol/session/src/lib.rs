//! Joins the wire and the engine to a connection: tokio at the edge, threads for the files.
