#!/usr/bin/env node
// Searches and rates, with what Node.js has: search.mjs a dog on the beach
const api = "http://localhost:3000/api/v1/";
const post = async (path, body) => {
  const answer = await fetch(api + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer.json();
};
const found = await post("search-image", { text: process.argv.slice(2).join(" ") || "tennis", limit: 5 });
for (const match of found.matches) console.log(match.score.toFixed(3), "", match.image_name);
await post("create-feedback", { user_feedback: 8, jwt: found.jwt });
