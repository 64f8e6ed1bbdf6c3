// Whether this browser is signed in. The key goes to the server once; what stays is a cookie that no script can read, and
// that pictures and the live status send, too.
import { asError, getSession, signIn } from '../api/client';
import { t } from '../texts';

type Scope = 'search' | 'feedback' | 'upload' | 'admin';

class Session {
  keyNeeded = $state(false);
  scopes = $state.raw<readonly string[]>([]);
  /** Whether the server can open the file manager of the desktop that this browser is on. */
  canShow = $state(false);
  /** Why the last key did not do. */
  refusal = $state('');

  may(scope: Scope): boolean {
    return this.scopes.includes(scope);
  }

  async look() {
    try {
      const { key_needed, scopes, show_in_folder } = await getSession();
      this.keyNeeded = key_needed;
      this.scopes = scopes;
      this.canShow = show_in_folder;
    } catch {
      // Older servers know no sessions, and one that does not answer is told of elsewhere.
    }
  }

  /** Whether the key allows `wanted`. */
  async signIn(key: string, wanted: Scope): Promise<boolean> {
    try {
      this.scopes = (await signIn(key)).scopes;
      this.refusal = this.may(wanted) ? '' : t.key.notEnough;
    } catch (thrown) {
      const { code, message } = asError(thrown);
      this.refusal = code === 'api_key_needed' ? t.key.refused : message;
    }
    return this.refusal === '';
  }

  /** Whether the server turned somebody away who should have been signed in. */
  endsWith({ code }: { code: string }): boolean {
    if (code !== 'api_key_needed' && code !== 'scope_needed') return false;
    this.scopes = this.scopes.filter((scope) => scope !== 'upload');
    this.refusal = code === 'scope_needed' ? t.key.notEnough : t.key.ended;
    return true;
  }
}

export const session = new Session();
