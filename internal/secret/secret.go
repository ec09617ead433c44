// Package secret keeps passwords and keys out of what people read. A [Secret] that is printed,
// logged or marshalled, by itself or inside something else, shows "[secret]".
package secret

import "fmt"

// Secret is a password, a key or a credential.
type Secret string

// Hidden stands where a secret would be.
const Hidden = "[secret]"

// Reveal gives the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (Secret) String() string               { return Hidden }
func (Secret) GoString() string             { return Hidden }
func (Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// Format hides the secret from verbs that do not call String.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, Hidden) }

// UnmarshalText takes a secret from a flag or from the environment.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
