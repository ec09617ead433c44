package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// json prints a value for scripts: one line.
func (e *env) json(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under headings, in columns.
func (e *env) table(headings []string, rows [][]string) {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush()
}

// local is the time zone in which people are told times.
var local = time.FixedZone("+07", 7*60*60)

// clock writes a time as portals do; empty for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(local).Format("02/01/2006 15:04:05")
}

// shorten cuts a text to n characters, for a column.
func shorten(s string, n int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}
