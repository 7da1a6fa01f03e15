//! Several Mailwards on one PostgreSQL, and a PostgreSQL that goes away: what one node does holds on
//! all, and nothing that was accepted is lost.

mod agents;
mod failover;
mod histories;
mod ledger;
mod linear;
mod load;
mod meetings;
mod outages;
mod poolers;
mod proxies;
mod recovery;
mod shared;
