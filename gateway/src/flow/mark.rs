//! What the packets of a flow carry while it is exempt, by which the operator's core knows it (RFC 2474 §3).
//!
//! The mark follows the account: bytes that are not counted as exempt are never marked as exempt (trap T38).

/// Bits of the octet in front of which DSCP stands: explicit congestion notification (RFC 3168 §5).
const ECN_BITS: u32 = 2;

/// The code point in an octet of IPv4's type of service or IPv6's traffic class.
pub const fn code_point(octet: u8) -> u8 {
    octet >> ECN_BITS
}

/// The octet with no code point, its congestion bits as they are.
pub const fn without_code_point(octet: u8) -> u8 {
    octet & !(u8::MAX << ECN_BITS)
}

/// The mark of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Differentiated services code point, 0 to 63; 0: none.
    pub dscp: u8,
    /// Mark of the subscriber's packets on this machine (SO_MARK); 0: none.
    pub fwmark: u32,
    /// Whether packets towards the origin carry the code point too.
    pub upstream: bool,
}

impl Mark {
    /// Of flows that are not exempt, and of services whose group has no mark.
    pub const NONE: Self = Self { dscp: 0, fwmark: 0, upstream: false };

    /// The octet of IPv4's type of service or IPv6's traffic class, its congestion bits 0: of a stream's socket the kernel
    /// keeps those as they are.
    pub fn octet(self) -> u8 {
        self.dscp << ECN_BITS
    }

    /// What a datagram carries that came with `octet`: the mark's code point where there is one, else the sender's; the
    /// congestion bits are always the sender's.
    pub fn octet_over(self, octet: u8) -> u8 {
        if self.dscp == 0 { octet } else { self.octet() | without_code_point(octet) }
    }

    /// What packets towards the origin carry.
    #[must_use]
    pub const fn towards_origin(self) -> Self {
        // The mark of this machine is left out: what goes to origins has one of its own, so that it is not taken again.
        if self.upstream { Self { fwmark: 0, ..self } } else { Self::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t38_a_mark_goes_to_the_origin_only_where_asked_for_and_without_the_machines_own() {
        let mark = Mark { dscp: 46, fwmark: 7, upstream: false };
        assert_eq!(mark.octet(), 0xb8);
        assert_eq!(mark.towards_origin(), Mark::NONE);
        let both = Mark { upstream: true, ..mark };
        assert_eq!(both.towards_origin(), Mark { dscp: 46, fwmark: 0, upstream: true });
        assert_eq!(Mark { dscp: 63, ..mark }.octet(), 0xfc);
        assert_eq!(Mark::NONE.octet(), 0);
    }

    #[test]
    fn f37_a_senders_code_point_gives_way_to_a_mark_alone_and_his_congestion_bits_never() {
        let mark = Mark { dscp: 10, ..Mark::NONE };
        assert_eq!((mark.octet_over(0xb9), Mark::NONE.octet_over(0xb9)), (0x29, 0xb9));
        assert_eq!((code_point(0xb9), without_code_point(0xb9)), (46, 1));
    }
}
