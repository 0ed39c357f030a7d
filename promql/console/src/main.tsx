import './style.css';
import { render } from 'preact';
import { applyTheme, Shell } from './shell.tsx';

applyTheme(localStorage.getItem('theme'));
const root = document.getElementById('console');
if (root) render(<Shell />, root);
