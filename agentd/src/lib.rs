//! agentd
