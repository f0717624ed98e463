//! What a worker counts beside flows and bytes: each event with its metric and what that says, in one place.

/// Declares the events. What is said of one is the help text of its metric.
macro_rules! events {
    ($($(#[doc = $help:literal])+ $event:ident => $metric:literal,)+) => {
        /// Something that happens at a worker.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[doc = $help])+ $event,)+
        }

        impl Event {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$event,)+];

            /// The metric that counts it.
            pub const fn metric(self) -> &'static str {
                match self {
                    $(Self::$event => $metric,)+
                }
            }

            /// What the metric says.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$event => concat!($($help),+).trim_ascii(),)+
                }
            }
        }
    };
}

events! {
    /// UDP flows without a name given up for newer ones (limits.undecided_flows_max)
    Evicted => "zrgw_undecided_evicted_total",
    /// Flows lost to a fault of the gateway: an alarm
    Panic => "zrgw_flow_panics_total",
    /// Errors of accept(2)
    AcceptError => "zrgw_accept_errors_total",
    /// Marks (DSCP, fwmark) that could not be set or taken back: the core sees flows otherwise than the export does
    MarkError => "zrgw_mark_errors_total",
    /// Bytes that moved inside the kernel
    SplicedBytes => "zrgw_spliced_bytes_total",
    /// Bytes exempt at addresses that serve other sites too: what domain fronting could hide in
    SharedExemptBytes => "zrgw_exempt_shared_address_bytes_total",
    /// Connections for which no port was free towards their destination: an alarm. Remedy: upstream.source_addresses
    PortsUsedUp => "zrgw_source_ports_used_up_total",
    /// Transparent flows that left from another port than the subscriber's, whose was taken
    PortChanged => "zrgw_source_port_changed_total",
    /// Verdicts taken again on open flows because list, rating, a date or their session changed
    JudgedAgain => "zrgw_flows_judged_again_total",
    /// Flows that began before their session was heard of, and are the session's from then on (radius.adopt)
    FlowAdopted => "zrgw_flows_adopted_total",
    /// Copies of first bytes that the kernel had no room for (edge.ring_max): their flows are charged
    KernelPiecesLost => "zrgw_kernel_pieces_lost_total",
    /// Packets without a slot (edge.slots_max, edge.slots_per_subscriber_max): carried, and nobody's
    KernelSlotless => "zrgw_kernel_slotless_packets_total",
    /// Readings of TCP_INFO at which less had passed than the gateway moved; anything but 0 is a fault
    MeterMismatch => "zrgw_meter_mismatch_total",
}

/// How often each has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events([u64; Event::ALL.len()]);

impl Events {
    /// It happened so often.
    pub fn add(&mut self, event: Event, times: u64) {
        if let Some(count) = self.0.get_mut(event as usize) {
            *count = count.saturating_add(times);
        }
    }

    /// How often it has happened.
    pub fn of(&self, event: Event) -> u64 {
        self.0.get(event as usize).copied().unwrap_or(0)
    }
}
