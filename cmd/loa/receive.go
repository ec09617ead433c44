package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/receiver"
)

type receiveCmd struct {
	Listen     string `default:"127.0.0.1:9000" help:"Where to listen."`
	Name       string `default:"Cổng thử nghiệm" help:"What the page calls the portal."`
	SecretFile string `placeholder:"FILE" help:"File with the portal's secret; made if it does not exist."`
	Dir        string `placeholder:"DIR" help:"Where to keep the bulletins; in memory without it."`

	Check  string `placeholder:"URL" help:"Receive nothing: try the receiver at this address instead, with the secret of --secret-file."`
	State  string `placeholder:"URL" help:"With --check: where the receiver lists what it holds, in the form of /bulletins.json."`
	Format string `enum:"bulletin,full,ninjs,atom" default:"bulletin" help:"With --check: what to send: bulletin, full (with the text), ninjs or atom."`
	JSON   bool   `help:"With --check: print the report as JSON."`
}

// Help is shown by loa receive --help.
func (*receiveCmd) Help() string {
	return `It takes signed bulletins at /bulletins, keeps the newest of each article, and shows
them at /, for programs at /bulletins.json. To connect it to a Loa on this machine:

  loa receive --secret-file thu.secret
  loa portals add thu --url http://127.0.0.1:9000/bulletins --secret-file thu.secret --allow 127.0.0.0/8 --from all

With --check it plays Loa against a receiver that somebody else has written: good signatures and
bad ones, repeats, versions out of order, corrections, withdrawals, digests, manifests, what a newer
Loa might send, and what is as large as it can be. It prints what was right, what was not, and what to do:

  loa receive --check https://portal.example/loa --secret-file portal.secret

The articles it sends are withdrawn in the end; still, try a test system rather than a portal that people
read. The status is 1 if something fails that MUST hold. What the receiver holds is looked at with
--state, an address that answers with {"bulletins": [{"bulletin": {"data": {"guid": …, "version":
…, "revision": …, "status": "live" or "withdrawn", "title": …}}}, …]}.`
}

func (c *receiveCmd) Run(e *env) error {
	if c.Check != "" {
		return c.check(e)
	}
	secret, err := c.secret(e)
	if err != nil {
		return err
	}
	log := logger(config.Log{Level: "info", Format: config.FormatConsole}, e.stderr)
	r, err := receiver.New(receiver.Options{Name: c.Name, Secrets: []string{secret}, Dir: c.Dir, Log: log})
	if err != nil {
		return err
	}
	defer r.Close()
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	e.printf("Receiving at http://%s/bulletins; look at http://%s/\n", l.Addr(), l.Addr())
	return serveHTTP(e.ctx, l, r.Handler())
}

// secret reads the secret, or makes one.
func (c *receiveCmd) secret(e *env) (string, error) {
	if c.SecretFile != "" {
		data, err := os.ReadFile(c.SecretFile)
		if err == nil {
			return strings.TrimSpace(string(data)), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	secret := events.NewSecret()
	if c.SecretFile == "" {
		e.printf("The portal's secret, for loa portals add --secret-file: %s\n", secret)
		return secret, nil
	}
	if err := os.WriteFile(c.SecretFile, []byte(secret+"\n"), 0o600); err != nil {
		return "", err
	}
	e.printf("Made a secret in %s.\n", c.SecretFile)
	return secret, nil
}

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 5 * time.Second
)

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		stopped <- srv.Shutdown(late)
	})
	err := srv.Serve(l)
	if !stop() {
		err = errors.Join(ignoreClosed(err), <-stopped)
	}
	return ignoreClosed(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
