package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/secret"
)

// portalKeyFile is where the key is kept that was made for an embedded NATS.
const portalKeyFile = "portal.key"

// portalKeys gives the keys that seal the portals' secrets: those that are configured, or those in
// the data directory. Where there are none and NATS is embedded, one is made if create says so.
func portalKeys(cfg *config.Config, create bool) (*secret.Keyring, error) {
	if cfg.PortalKey != "" {
		return secret.ParseKeyring(secret.Secret(cfg.PortalKey.Reveal())) // it was checked
	}
	file := filepath.Join(cfg.DataDir, portalKeyFile)
	text, err := readPortalKey(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		if text, err = makePortalKey(file); err != nil {
			return nil, fmt.Errorf("make the key of the portals' secrets: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no key for the portals' secrets, which are sealed: name the file that holds it with " +
			"portal_key_file, --portal-key-file or LOA_PORTAL_KEY_FILE; every Loa on one NATS needs the same. " +
			"For a new one: openssl rand -base64 32")
	case err != nil:
		return nil, err
	}
	keys, err := secret.ParseKeyring(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return keys, nil
}

func readPortalKey(file string) (secret.Secret, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %#o, so that others may read the key of the portals' secrets: chmod 600 it", file, mode)
	}
	data, err := os.ReadFile(file)
	return secret.Secret(data), err
}

// makePortalKey writes a new key, which is on disk when it returns: what it seals must not be lost.
func makePortalKey(file string) (secret.Secret, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	key := "# The key of the portals' secrets. Without it they cannot be used: keep a copy elsewhere.\n" + secret.NewKey().Reveal() + "\n"
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) { // another process was quicker
		return readPortalKey(file)
	}
	if err != nil {
		return "", err
	}
	if _, err = f.WriteString(key); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file))
	}
	return secret.Secret(key), nil
}
