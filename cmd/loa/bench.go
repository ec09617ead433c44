package main

type (
	benchPushCmd   struct{}
	benchFeedsCmd  struct{}
	benchIntakeCmd struct{}
)

func (*benchPushCmd) Run(*env) error   { return nil }
func (*benchFeedsCmd) Run(*env) error  { return nil }
func (*benchIntakeCmd) Run(*env) error { return nil }
