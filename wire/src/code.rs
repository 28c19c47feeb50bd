//! The codes of the protocol's `error` frames, each with its number and its name.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a command was refused. The numbers are those of the protocol.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name beside the number, as in `"name":"bad_topic"`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The code with this number, if the protocol has one.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// The text is not JSON.
    BadJson = 1000, "bad_json";
    /// There is no such action.
    UnknownAction = 1001, "unknown_action";
    /// The command is too large.
    TooLarge = 1002, "too_large";
    /// The name is no topic, or no filter.
    BadTopic = 1003, "bad_topic";
    /// A field is missing or of the wrong type.
    BadField = 1004, "bad_field";
    /// Nothing is allowed before `auth`.
    AuthRequired = 2000, "auth_required";
    /// The token is not valid.
    BadToken = 2001, "bad_token";
    /// The token was valid once.
    Expired = 2002, "expired";
    /// The token does not allow this.
    Forbidden = 2003, "forbidden";
    /// Too many commands in a second.
    Rate = 3000, "rate";
    /// Too many subscriptions on this connection.
    SubscriptionLimit = 3001, "subscription_limit";
    /// Too many connections.
    ConnectionLimit = 3002, "connection_limit";
    /// The payload is too large.
    PayloadLimit = 3004, "payload_limit";
    /// A fault of the server.
    Internal = 5000, "internal";
    /// The server is being emptied.
    Draining = 5001, "draining";
    /// What was asked for is no longer kept.
    NoHistory = 5002, "no_history";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_protocol() {
        let page = "1000 bad_json · 1001 unknown_action · 1002 too_large · 1003 bad_topic · \
            1004 bad_field · 2000 auth_required · 2001 bad_token · 2002 expired · 2003 forbidden · \
            3000 rate · 3001 subscription_limit · 3002 connection_limit · 3004 payload_limit · \
            5000 internal · 5001 draining · 5002 no_history";
        let ours: Vec<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(ours.join(" · "), page);
    }

    #[test]
    fn a_number_is_turned_into_its_code_and_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(3003), None);
    }
}
