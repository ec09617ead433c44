package embedded

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/secret"
)

const (
	credentialsFile             = "credentials.json"
	privateFile     fs.FileMode = 0o600
	// secretBytes is the entropy of a secret; 32 bytes cannot be guessed.
	secretBytes = 32
)

// Names that log in.
const (
	// UserLoa may do everything, in NATS and in S3.
	UserLoa = "loa"
	// UserCMS may publish events to NATS, and nothing else.
	UserCMS = "cms"
)

// Secret is a password or secret key, which shows itself to nobody.
type Secret = secret.Secret

// Login is a name and its secret: a NATS user with a password, or an S3 access key with its
// secret key.
type Login struct {
	Name   string
	Secret Secret
}

// MarshalZerologObject logs the name.
func (l Login) MarshalZerologObject(e *zerolog.Event) { e.Str("name", l.Name) }

// privateInbox is where the user loa gets its replies. A CMS may listen on the usual _INBOX.>,
// which it needs for acknowledgements; it must not see there what Loa reads.
const privateInbox = "_INBOX_LOA"

// Options are what nats.go needs to connect as l.
func (l Login) Options() []nats.Option {
	opts := []nats.Option{nats.UserInfo(l.Name, l.Secret.Reveal())}
	if l.Name == UserLoa {
		opts = append(opts, nats.CustomInboxPrefix(privateInbox))
	}
	return opts
}

// Credentials are the users of the embedded NATS.
type Credentials struct {
	Loa Login
	CMS Login
}

// MarshalZerologObject logs the names.
func (c Credentials) MarshalZerologObject(e *zerolog.Event) {
	e.Object("loa", c.Loa).Object("cms", c.CMS)
}

// ReadCredentials reads what [StartNATS] wrote into its directory. Without a server having
// been started there the error is [fs.ErrNotExist].
func ReadCredentials(dir string) (Credentials, error) {
	secrets, err := readSecrets(dir)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{secrets.login(UserLoa), secrets.login(UserCMS)}, nil
}

// ReadS3Credentials does for [StartS3] what [ReadCredentials] does for NATS.
func ReadS3Credentials(dir string) (Login, error) {
	secrets, err := readSecrets(dir)
	if err != nil {
		return Login{}, err
	}
	return secrets.login(UserLoa), nil
}

// secrets are the contents of a credentials file: secrets by name.
type secrets map[string]string

func (s secrets) login(name string) Login { return Login{name, Secret(s[name])} }

func readSecrets(dir string) (secrets, error) {
	name := filepath.Join(dir, credentialsFile)
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("read credentials: %s has mode %#o, so that others may have read it: remove it to have new ones made, or chmod 600 it", name, mode)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	var s secrets
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read credentials: %s is not a JSON object of names and secrets: %w: remove it to have new ones made", name, err)
	}
	return s, nil
}

// keepSecrets reads the credentials file in dir after adding a random secret for each of the
// names that it does not hold. The caller holds the directory's [Lock].
func keepSecrets(dir string, names ...string) (secrets, error) {
	s, err := readSecrets(dir)
	if errors.Is(err, fs.ErrNotExist) {
		s, err = secrets{}, nil
	}
	if err != nil {
		return nil, err
	}
	complete := true
	for _, name := range names {
		if s[name] == "" {
			s[name], complete = newSecret(), false
		}
	}
	if complete {
		return s, nil
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode credentials: %w", err)
	}
	if err := writePrivate(filepath.Join(dir, credentialsFile), append(data, '\n')); err != nil {
		return nil, fmt.Errorf("write credentials: %w", err)
	}
	return s, nil
}

func newSecret() string {
	b := make([]byte, secretBytes)
	rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// writePrivate replaces the file as a whole, for good.
func writePrivate(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return err
	}
	return syncPath(filepath.Dir(name))
}
