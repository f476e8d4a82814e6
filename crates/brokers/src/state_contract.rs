//! What every store of the state that replicas share must do, written once. Each implementation runs it.
