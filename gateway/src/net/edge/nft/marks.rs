//! Marks of others that look like ours: they are cleared, so that nobody passes for exempt who is not (trap T38).

use std::fmt::Write as _;

use super::Plan;

impl Plan {
    /// Nobody else's mark passes for ours (trap T38).
    pub(super) fn foreign_marks(&self, whose: &str, text: &mut String) {
        for dscp in &self.dscps {
            let _ = write!(
                text,
                "\t\t# The {whose}'s own mark never passes for ours.\n\
                 \t\tip dscp {dscp} ip dscp set 0\n\t\tip6 dscp {dscp} ip6 dscp set 0\n"
            );
        }
    }

    /// What passes by on its way to subscribers: a server in league with one could set the mark for him. What we send
    /// ourselves does not come this way.
    pub(super) fn passing(&self, text: &mut String) {
        if self.dscps.is_empty() {
            return;
        }
        text.push_str("\tchain passing {\n\t\ttype filter hook forward priority mangle; policy accept;\n");
        self.interfaces("oifname", text);
        self.foreign_marks("server", text);
        text.push_str("\t}\n");
    }
}
