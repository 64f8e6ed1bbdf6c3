// Searches and rates with the types that openapi-typescript makes, and openapi-fetch: node search.js URL
import createClient from 'openapi-fetch';
import type { paths } from './api.js';

const api = createClient<paths>({ baseUrl: process.argv[2] });
const { data: found, error } = await api.POST('/api/v1/search-image', { body: { text: 'tennis', limit: 3 } });
if (!found) throw new Error(error?.detail);
for (const match of found.matches) console.log(`${match.score.toFixed(3)}  ${match.image_name}`);
if (!found.matches[0]?.image_name.endsWith('tennis.png')) throw new Error('tennis.png is not the first');
const { response } = await api.POST('/api/v1/create-feedback', { body: { user_feedback: 9, jwt: found.jwt } });
if (response.status !== 201) throw new Error(`the rating was answered ${response.status}`);
