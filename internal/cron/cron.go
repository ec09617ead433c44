// Package cron reads the times at which something is to be done again and again, as people
// write them down: "0 30 7 * * mon-fri" is half past seven on working days.
//
// An expression has six fields (second, minute, hour, day of the month, month, day of the week),
// each "*", a number, a range, a step, or several of them with commas between: just what
// JetStream's message scheduler takes in the header Nats-Schedule. The server's own parser is
// not exported; it was made from the one that is used here.
package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // time zones are settings, wherever Loa runs

	"github.com/robfig/cron/v3"
)

// maxExpression is in bytes; every field of a longer one could be written shorter.
const maxExpression = 256

var parser = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Schedule is a series of times.
type Schedule struct {
	schedule cron.Schedule
	zone     *time.Location
}

// Parse reads an expression, whose times are those of a zone such as Asia/Ho_Chi_Minh.
func Parse(expression, zone string) (Schedule, error) {
	loc, err := Zone(zone)
	if err != nil {
		return Schedule{}, err
	}
	// The parser knows a prefix that names a zone, and the server does not.
	if len(expression) > maxExpression || strings.Contains(expression, "=") {
		return Schedule{}, errors.New("not six fields such as 0 0 7,16 * * *")
	}
	s, err := parser.Parse(expression)
	if err != nil {
		return Schedule{}, err
	}
	if s.Next(time.Now()).IsZero() {
		return Schedule{}, errors.New("there is no such time in the next five years")
	}
	return Schedule{s, loc}, nil
}

// Next is the first of the times after t.
func (s Schedule) Next(t time.Time) time.Time { return s.schedule.Next(t.In(s.zone)) }

// Zone reads a time zone's name in the IANA data base. "Local" is none: it is another one on
// every machine, and so is "" in JetStream.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return time.LoadLocation(name)
}
