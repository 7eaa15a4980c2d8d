//! Log lines: through `tracing`, as text or JSON, to standard error.
