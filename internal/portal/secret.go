package portal

import "github.com/loa-syndication/loa/internal/secret"

// Secret is a key or a credential, which shows itself to nobody.
type Secret = secret.Secret
