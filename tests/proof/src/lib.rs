//! Drives the production election core ([`kneard::election::Machine`]) over the production model of
//! Consul ([`kneard::consul::model`]): exhaustively in small worlds, at random in large ones.
#![forbid(unsafe_code)]

pub mod check;
pub mod sim;
