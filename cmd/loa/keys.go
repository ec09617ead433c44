package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/keys"
)

// withKeys connects, opens the registry of keys, and closes both afterwards.
func (c *client) withKeys(e *env, do func(*session, *keys.Registry) error) error {
	s, err := c.connect(e.ctx)
	if err != nil {
		return err
	}
	defer s.close()
	registry, err := keys.Open(e.ctx, s.js, zerolog.Nop())
	if err != nil {
		return err
	}
	defer registry.Close()
	err = do(s, registry)
	if errors.Is(err, keys.ErrNotFound) {
		err = fmt.Errorf("%w; loa keys ls lists those there are", err)
	}
	return err
}

// keyView is a key as people and scripts are told of it.
type keyView struct {
	keys.Key
	LastUse *time.Time `json:"last_use,omitempty"` // to the minute
	// Text is the key itself, when it is made.
	Text string `json:"key,omitempty"`
}

type keysAddCmd struct {
	client
	Name    string      `arg:"" help:"Whose it is, for people."`
	Kind    string      `default:"partner" enum:"partner,cms" help:"What it opens: partner (the API), or cms (publishing over HTTP)."`
	Sites   []string    `placeholder:"SITE" help:"Of a partner: only articles of these sites and of those under them. Of a CMS: the sites that it publishes, which it must name."`
	Content string      `placeholder:"CONTENT" help:"What a partner is shown of an article: the summary (the default), or full, which is with the text."`
	Rate    config.Rate `placeholder:"RATE" help:"How often it may ask, such as 20/s or 600/m; without it, the default of the configuration."`
	JSON    bool        `help:"Print as JSON."`
}

// Help is shown by loa keys add --help.
func (*keysAddCmd) Help() string {
	return `The key is printed once, and stored as a hash: who loses it gets another. A partner may have
several, so that a new one can be put to use before the old one is revoked.

  loa keys add "Báo An Hòa" --sites quan-ben-song --content full --rate 10/s
  loa keys add "CMS của phường" --kind cms --sites phuong-cau-go`
}

func (c *keysAddCmd) Run(e *env) error {
	return c.withKeys(e, func(s *session, registry *keys.Registry) error {
		tree, err := siteTree(s.cfg.Sites)
		if err != nil {
			return err
		}
		if len(s.cfg.Sites) == 0 { // of a NATS that was named without a configuration
			tree = nil
		}
		k, text, err := registry.Add(e.ctx, keys.Key{Kind: c.Kind, Name: c.Name, Sites: c.Sites, Content: c.Content, Rate: float64(c.Rate)}, tree, operator())
		if err != nil {
			return err
		}
		if c.JSON {
			return e.json(keyView{Key: k, Text: text.Reveal()})
		}
		e.printf("Added key %s of %s.\nThe key, which is not shown again: %s\n", k.ID, k.Name, text.Reveal())
		return nil
	})
}

type keysLsCmd struct {
	client
	All  bool `help:"Those that are revoked as well."`
	JSON bool `help:"Print as JSON, one key a line."`
}

func (c *keysLsCmd) Run(e *env) error {
	return c.withKeys(e, func(_ *session, registry *keys.Registry) error {
		var rows [][]string
		for _, k := range registry.All() {
			if k.Revoked != nil && !c.All {
				continue
			}
			used := registry.LastUse(k.ID)
			if c.JSON {
				if err := e.json(keyView{Key: k, LastUse: optional(used)}); err != nil {
					return err
				}
				continue
			}
			state := ""
			if k.Revoked != nil {
				state = "revoked " + clock(k.Revoked.At)
			}
			rows = append(rows, []string{k.ID, k.Kind, shorten(k.Name, 40), shorten(sitesOf(k), 40), k.Content, rateOf(k), clock(used), state})
		}
		if c.JSON {
			return nil
		}
		if len(rows) == 0 {
			e.printf("No keys. Make one with loa keys add.\n")
			return nil
		}
		e.table([]string{"KEY", "KIND", "WHOSE", "SITES", "CONTENT", "RATE", "LAST USED", "STATE"}, rows)
		return nil
	})
}

func sitesOf(k keys.Key) string {
	if len(k.Sites) == 0 {
		return "all"
	}
	return strings.Join(k.Sites, ", ")
}

func rateOf(k keys.Key) string {
	if k.Rate == 0 {
		return "default"
	}
	return fmt.Sprintf("%.4g/s", k.Rate)
}

type keysShowCmd struct {
	client
	ID   string `arg:"" name:"key" help:"The key's id: what loa keys ls shows, or what is between the first two underscores of the key."`
	JSON bool   `help:"Print as JSON."`
}

func (c *keysShowCmd) Run(e *env) error {
	return c.withKeys(e, func(_ *session, registry *keys.Registry) error {
		k, err := registry.Get(c.ID)
		if err != nil {
			return err
		}
		used := registry.LastUse(k.ID)
		if c.JSON {
			return e.json(keyView{Key: k, LastUse: optional(used)})
		}
		e.printf("%s  %s\n  kind      %s\n  sites     %s\n", k.ID, k.Name, k.Kind, sitesOf(k))
		if k.Content != "" {
			e.printf("  content   %s\n", k.Content)
		}
		e.printf("  rate      %s\n  made      %s by %s\n", rateOf(k), clock(k.Created), k.By)
		if used.IsZero() {
			e.printf("  last used never\n")
		} else {
			e.printf("  last used %s\n", clock(used))
		}
		if k.Revoked != nil {
			e.printf("  revoked   %s by %s\n", clock(k.Revoked.At), k.Revoked.By)
		}
		return nil
	})
}

type keysRevokeCmd struct {
	client
	ID   string `arg:"" name:"key" help:"The key's id: what loa keys ls shows."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown by loa keys revoke --help.
func (*keysRevokeCmd) Help() string {
	return `It opens nothing any more within a second, in every process, and there is no way back. It stays
on record: loa keys ls --all.`
}

func (c *keysRevokeCmd) Run(e *env) error {
	return c.withKeys(e, func(_ *session, registry *keys.Registry) error {
		k, err := registry.Revoke(e.ctx, c.ID, operator())
		if err != nil {
			return err
		}
		if c.JSON {
			return e.json(keyView{Key: k, LastUse: optional(registry.LastUse(k.ID))})
		}
		e.printf("Revoked key %s of %s.\n", k.ID, k.Name)
		return nil
	})
}
