package main

import "context"

func (d *demo) check(context.Context) []error { return nil }
