package host

// A kubeUnit is what systemd starts for a unit.
type kubeUnit struct {
	command []string // with the variables put in
	env     map[string]string
	at      string // file:line of the command
}

// kubeUnit reads a unit. One that is not there, or is masked, has no command.
func (s *Surveys) kubeUnit(name string) (u kubeUnit, err error) {
	unit, err := s.systemdUnit(name)
	if err != nil || unit.file == "" {
		return u, err
	}
	if u.env, err = s.unitEnvironment(&unit); err != nil {
		return u, err
	}
	u.command, u.at = unit.command(u.env)
	return u, nil
}
