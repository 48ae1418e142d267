//! The record: the one serialised form of a flow (JSON lines, schema version 1).
